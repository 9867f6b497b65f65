"""The runner: what happens on a worker between a job's start and its result. Python 3.9 and its standard library only.

It finds its orders in the job's folder of the storage and leaves there the log, a heartbeat and, last of all, the result; it
works on the machine's own disk. It knows neither the controller nor the cloud.
"""
