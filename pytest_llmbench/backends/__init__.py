"""What runs the model?"""
