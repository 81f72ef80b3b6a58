"""One exchange over HTTP: the only part of the core that knows aiohttp."""
