"""The process and its machine: XLA, memory, devices, several processes, files and the command line it came from."""
