"""Is it slower?"""
