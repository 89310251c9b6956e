"""Finds passages that occur twice, exactly or nearly: MinHash signatures on disk, compared band by band."""
