"""Which cases are there?"""
