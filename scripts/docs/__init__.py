"""What is made for users to read and to open: languages, pictures, shared workflows."""
