"""The serial line without the line: framing, messages and sessions, shared by board and host.

Bytes in, events out. Nothing here opens a port, reads a clock or draws a random number, and
importing it loads neither NumPy nor numba. The protocol is SMP, MCUmgr's Simple Management
Protocol; `docs/protocol.md` says what a client in another language needs.
"""
