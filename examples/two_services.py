"""One trace across two processes: an agent asks another service over HTTP, and that service's agent is below it.

    pip install spanloom
    python two_services.py
    spanloom tree last

The caller puts the trace into the request's headers (W3C traceparent); the callee, any WSGI application, takes it from
there. Where each side sends its runs is its own affair and never in the headers.
"""

import subprocess
import sys
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx

import spanloom
from spanloom.middleware import Wsgi


# The service that is asked.
@spanloom.tool
def read_thermometer(city):
    return {"Oslo": 3, "Lima": 24}[city]


@spanloom.agent
def weather_clerk(city):
    return f"{read_thermometer(city)} degrees"


def application(environ, start_response):
    city = parse_qs(environ["QUERY_STRING"])["city"][0]
    start_response("200 OK", [("content-type", "text/plain")])
    return [weather_clerk(city).encode()]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def serve():
    with make_server("127.0.0.1", 0, Wsgi(application), handler_class=Quiet) as server:
        print(server.server_port, flush=True)
        for _ in range(2):
            server.handle_request()


# The service that asks.
@spanloom.tool
def ask_the_weather(port, city):
    headers = {}
    spanloom.inject(headers)
    return httpx.get(f"http://127.0.0.1:{port}/", params={"city": city}, headers=headers).text


@spanloom.agent
def travel_agent(port, cities):
    return {city: ask_the_weather(port, city) for city in cities}


def main():
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as other:
        print(travel_agent(int(other.stdout.readline()), ["Oslo", "Lima"]))


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
