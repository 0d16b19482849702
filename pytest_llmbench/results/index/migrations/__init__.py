"""How did the tables come to be what they are, one step after the other?"""
