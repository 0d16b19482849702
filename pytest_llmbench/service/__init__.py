"""Who asks from elsewhere: how is a benchmark started from a browser or a script, and looked at later?"""
