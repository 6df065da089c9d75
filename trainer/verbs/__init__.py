"""Short-lived processes that the master starts on a host; a file has the name of its verb. Only the front door
and `pod` may enter.
"""
