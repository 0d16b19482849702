"""What is a model asked over several turns?"""
