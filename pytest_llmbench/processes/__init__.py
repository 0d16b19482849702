"""How do we talk to a process of ours?"""
