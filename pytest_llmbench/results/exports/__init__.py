"""In which forms do other programs take a document?"""
