"""And without pytest? ``llmbench``, one module a subject."""
