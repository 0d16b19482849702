"""What is kept of what was measured?"""
