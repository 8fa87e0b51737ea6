"""Feedback that comes later, from another process: by the run's id, or by a key of your own.

    pip install spanloom
    python feedback_later.py
    spanloom runs

The web server that answered is long gone when the user presses the button. It has either handed out the run's id with
the answer, or recorded the run under a key that both sides know, such as an order number.
"""

import subprocess
import sys

import spanloom


@spanloom.agent
def advise(question):
    return f"Ask again tomorrow: {question}"


def serve():
    """The first process: answers two customers."""
    answer, run = spanloom.traced(advise, "Shall I buy the boat?")
    print(answer)
    with spanloom.context(key="order-42", user="ada"):
        print(advise("Where is my parcel?"))
    return run.id


def receive(run_id):
    """The second process: knows the id of one run and the key of the other."""
    spanloom.feedback(run_id, thumb="up", comment="Good advice")
    spanloom.feedback(key="order-42", thumb="down", comment="Still no parcel")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        receive(sys.argv[1])
    else:
        subprocess.run([sys.executable, __file__, serve()], check=True)
