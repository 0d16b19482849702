"""How are the documents of a store found, filtered and followed over time without reading them all?"""
