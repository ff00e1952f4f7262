"""The command ``fairseq-lottery``: parse, call, print.

One file per subcommand. A command file imports only the standard library at its top and
the rooms it calls inside ``run``, so that ``--help`` needs neither torch nor fairseq.
"""
