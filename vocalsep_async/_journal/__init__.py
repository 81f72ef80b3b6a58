"""The file behind `Journal`: a SQLite database with one writer.

`codec` packs task records, `store` is the database, `lock` keeps other processes from writing to
it, `writer` batches writes in a worker thread, and `journal` is the asyncio side.
"""
