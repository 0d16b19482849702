"""What does a person see who opens the service in a browser?

One module a page. :mod:`.site` puts them together, :mod:`.look` turns what they found into HTML. Every page
is made on the server and works without JavaScript, but for charts, each of which has its table behind it.
"""
