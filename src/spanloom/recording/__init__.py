"""The user's side: from their code to a record. Promises nothing by itself; the names live in the modules:

recorder       Recorder, Sink, install, current        what every call reads; swapped whole
ambient        Ambient and the two context variables   who and what for; the run that is current
blocks         context, disabled
run            Run                                     one run, from start to end
opening        current_run
decorators     agent, tool, llm, chain, embed, retriever, start, traced
conversation   thread                                  threads, chats, replies
feedback       feedback                                by run id or by the user's key
usage          action, outcome                         what is counted or billed
carrying       carry                                   across threads and processes
propagation    inject, extract                         across processes and hosts
"""
