// placeholder
void dejavu_placeholder(void);
void dejavu_placeholder(void) {}
