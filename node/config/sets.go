package config

// Sets tells whether the file gives the key, as "node.name"; false means that its
// value is a default or was taken from the host.
func (c *Config) Sets(key string) bool {
	_, given := c.origin[key]
	return given
}

// File is where the configuration was read from, "" when there is none.
func (c *Config) File() string { return c.file }
