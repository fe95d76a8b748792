"""The data plane: encoders and index workers as plain classes, and one thin Ray actor around each."""
