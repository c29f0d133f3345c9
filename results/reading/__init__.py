"""Reading runs: records, the reference's files, logged fixtures, and logs or documents of any format."""
