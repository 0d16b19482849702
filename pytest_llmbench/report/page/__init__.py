"""How does a report look as a page of its own?"""
