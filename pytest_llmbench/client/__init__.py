"""How is a load sent?"""
