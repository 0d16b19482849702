"""What did the machine do meanwhile?"""
