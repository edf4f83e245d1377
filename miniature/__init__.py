"""The miniature: a drawn film world and small trained models of the real architectures, the offline default."""
