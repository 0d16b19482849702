"""Which pictures are made of what was measured, and what stands in each?"""
