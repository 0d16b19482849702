"""How is a model of a published architecture made without a download?"""
