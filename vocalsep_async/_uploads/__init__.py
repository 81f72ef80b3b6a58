"""Uploads: from a path, bytes or a stream to a link.

`content` reads what is uploaded, `names` says how it is called at the host, `uploader` sends it in
several tries.
"""
