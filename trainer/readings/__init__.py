"""What a script that knows nothing of us says of its training: figures read from what it prints, and from its files.

Text in, figures out: pure functions and small machines without clocks or processes, standard library only;
`script_files` alone opens files. The supervisor feeds what it takes from a rank's pipe, and keeps what comes out.
Nothing here knows a run.
"""
