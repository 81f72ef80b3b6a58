"""HTTP exchanges: the only part of the package that imports aiohttp, besides the emulator."""
