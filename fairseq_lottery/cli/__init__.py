"""The command ``fairseq-lottery``: parse, call, print.

One file per subcommand. A command file imports the rooms that it calls inside ``run``, so that
``--help`` needs neither torch nor fairseq.
``REQUIRES`` names the packages without which the command cannot start.
"""
