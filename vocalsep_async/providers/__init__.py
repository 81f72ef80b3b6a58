"""From an HTTP answer to a value or an error: functions over (status, headers, body).

`body` turns bytes into JSON, `envelope` turns JSON into the payload or an `APIError`, `records`
turns a payload into a model. `Decoder` is the three in a row, one method for each endpoint.
"""
