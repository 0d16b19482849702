"""What is left to be measured, and where?"""
