"""Which configuration should I take?"""
