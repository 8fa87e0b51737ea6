"""From a record to an acknowledged request: the journal on disk, a cursor and a shipper thread per destination."""
