"""Nothing is lost: what a batch knows, in a file.

`records` packs what the API answered, `store` is the file, `lock` says who writes to it, `writer`
writes in a thread, `journal` is what users hold.
"""
