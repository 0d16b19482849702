"""What does a number mean?"""
