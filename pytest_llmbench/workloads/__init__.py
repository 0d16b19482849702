"""What is the model asked?"""
