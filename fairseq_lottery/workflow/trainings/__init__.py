"""What a training is, and which trainings a technique is made of."""
