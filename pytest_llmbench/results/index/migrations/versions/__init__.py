"""Which steps are there? A step that is released is never changed: another one follows it."""
