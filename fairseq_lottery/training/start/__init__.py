"""What a training starts from: flags, tickets, and the checkpoint that fairseq will load."""
