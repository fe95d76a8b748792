"""From the bytes of a file to lines of UTF-8: decompresses, recodes and cuts. Holds little, however large the file is."""
