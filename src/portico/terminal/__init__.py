"""What a person sees and answers: output, prompts, a line read from the terminal."""
