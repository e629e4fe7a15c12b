"""Connects to port 80 of a name and prints how many milliseconds that took."""
import socket
import sys
import time

begun = time.monotonic()
socket.create_connection((sys.argv[1], 80))
print(int((time.monotonic() - begun) * 1000))
