"""What a script that knows nothing of us says of its training: figures read from what it prints, and from its files.

Text in, figures out: pure functions and small machines, standard library only; `script_files` and `report` alone open
files of the script's, `process_usage` looks at what its processes take. The supervisor feeds what it takes from a
rank's pipe, and keeps what comes out. Nothing here knows a run.
"""
