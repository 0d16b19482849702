"""What does a person read?"""
